"""Run recipes: options, folders, training, verification, reports and studies."""
