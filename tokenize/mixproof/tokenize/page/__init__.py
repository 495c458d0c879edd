"""A build on a page: its account, flow and environment, as tables and drawings for HTML templates."""
