"""What the commands of `workbench` do, apart from reading their arguments."""
