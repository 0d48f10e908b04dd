"""Do what every training does: options, folder, training, verification, report."""
