"""Several targets side by side: totals, uncertainty, ways to pay, what-ifs, break-even, what money does not say."""
