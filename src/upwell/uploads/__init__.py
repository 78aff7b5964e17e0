"""Content that was uploaded for builds, kept by its digest.

Never looks into it: what an archive holds is the builder's business.
"""
