"""An account with the rights of an installation, made for each module that asks for it."""

from tests.support.kubernetes.rights.granted_rights import granted

__all__ = ["granted"]
