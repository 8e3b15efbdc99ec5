collect_ignore = ["first_number.py", "needing_more.py"]  # they import verifiers; ../test_verifiers.py uses them
