"""Where the shards of a study run: local.py, processes of this machine."""
