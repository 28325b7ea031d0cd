"""The shop of the course: its database, its rules, and the tools through which an assistant reads and changes it."""
