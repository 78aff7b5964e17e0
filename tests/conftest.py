"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How fast a machine is says nothing of the code.
settings.register_profile("upwell", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("upwell")
