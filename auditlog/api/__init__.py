"""/v1/audit: the audit log for programs."""
