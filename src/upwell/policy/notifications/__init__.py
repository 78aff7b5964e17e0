"""Events of objects, their CloudEvents, and the Subscriptions that receive them."""
