"""What is looked at over HTTP: `pages`, and the JSON `api`; and who may speak to us there, and for how long."""
