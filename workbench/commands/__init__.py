"""The work of the `workbench` commands, without their arguments."""
