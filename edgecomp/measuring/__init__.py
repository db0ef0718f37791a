"""Measuring a device: what is sent there, what comes back, and the profile that it makes."""
