"""The audit records as rows."""
