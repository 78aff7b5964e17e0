"""Parts of Waves: approvals, cancellations and retries."""
