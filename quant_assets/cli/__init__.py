"""The command line. `app` names the commands; a module a group of them."""
