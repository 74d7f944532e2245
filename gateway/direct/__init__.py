"""Workers that the gateway reaches itself: `edge-worker serve` on the same network or behind a VPN, as Links."""
