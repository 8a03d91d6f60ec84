"""One module or folder for each way in which identity providers ask for an SSH login."""
