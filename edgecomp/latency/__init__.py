"""What a model will do on a device: its work, counted from a container or before there is one."""
