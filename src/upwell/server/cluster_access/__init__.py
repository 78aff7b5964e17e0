"""Admission of what is written past this API, about which a cluster asks (AdmissionReview)."""
