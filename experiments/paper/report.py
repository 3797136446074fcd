def write_report(*args): return None
