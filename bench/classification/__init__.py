"""A folder of pictures through a gateway, and how good the answers are.

folder.py    which pictures, which bodies, how many to a request       labels.py   what is to be seen on each
run.py       all pictures, some requests at a time                     score.py    right or wrong, and which confusions
report.py    the table and the JSON

Requests, and when to make them again, are `gateway.client`'s.
"""
