"""What happened to the layers beside accuracy over the epochs, and what that rests on."""
