"""The listening test's page: a static folder for a browser."""
