"""Tools that come with the course."""
