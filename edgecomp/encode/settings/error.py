"""What is raised for settings that make no sense."""


class SettingsError(ValueError):
    """Settings that no encoder can follow."""
