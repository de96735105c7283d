"""What a comparison reports: summary, tables, figures."""
