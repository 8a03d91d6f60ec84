"""Does what the original's keys command did at every call, with requests: gets a token, then the keys of all users.

python3 -IS bench/load/original_keys_command.py CONFIG.json PACKAGES
"""

import json
import sys
from pathlib import Path

sys.path.append(sys.argv[2])
import requests

config = json.loads(Path(sys.argv[1]).read_text())
form = {"grant_type": "client_credentials", "scope": config["token_scope"],
        "client_id": config["client_id"], "client_secret": config["client_secret"]}  # fmt: skip
verify = config.get("ca_file", True)
token = requests.post(config["token_endpoint"], data=form, verify=verify, timeout=10).json()["access_token"]
headers = {"Authorization": f"Bearer {token}"}
for entry in requests.get(config["mfa_list_endpoint"], headers=headers, verify=verify, timeout=10).json():
    print(f'restrict,command="/bin/true {entry["user"]}" {entry["authorized_key"]}')
