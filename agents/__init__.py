"""What happens to records, in the order in which they travel; each module registers one agent on the app."""

MODULES = ("observe", "update_routing", "fire_cycles")
