"""The command line: `mlport NOUN VERB`. Each noun is a file here, imported only when it is asked for."""
