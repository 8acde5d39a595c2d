"""Files that others collected, sent to the service."""
