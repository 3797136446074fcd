"""Results become tables, figures and one offline page; nothing is computed here."""
