"""What real work costs: prices frozen when it is planned, measured hours, budgets."""
