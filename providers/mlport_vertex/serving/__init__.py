"""What stands behind the role of endpoints: requests, records, images, predictions, what was captured and observed."""
