"""Defaults of the core group."""

from upwell.api.core import Secret, Service


def complete_service(service: Service) -> Service:
    """Return a Service with its defaults."""
    ports = tuple(
        port if port.target_port is not None else port.model_copy(update={"target_port": port.port})
        for port in service.spec.ports
    )
    if ports == service.spec.ports:
        return service
    return service.model_copy(update={"spec": service.spec.model_copy(update={"ports": ports})})


def fold_string_data(secret: Secret) -> Secret:
    """Fold `stringData` into `data`: it is a way to write, never one to read."""
    plain = {key: text.encode() for key, text in secret.string_data.items()}
    folded = secret.data | Secret.encode_values(plain)
    return secret.model_copy(update={"data": folded, "string_data": {}})
