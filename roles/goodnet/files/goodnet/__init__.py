"""GoodNet: the tenant network of Cloudbang, on Open vSwitch."""
