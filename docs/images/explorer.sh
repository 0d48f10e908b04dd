#!/usr/bin/env bash
# Makes explorer.png anew: trains an LSTM for two epochs, writes its page, and takes a
# picture of it with the installed Chromium. Takes about a minute.
set -eu
cd "$(dirname "$0")/../.."
run=$(mktemp -d)
.venv/bin/rnn-recipe run sentiment_lstm --epochs 2 --mask-zero --out "$run/run"
.venv/bin/rnn-recipe explore "$run/run" \
  --text "@united the flight was delayed again but your crew was great, thanks!"
chromium --headless --no-sandbox --disable-gpu --user-data-dir="$run/chromium" \
  --hide-scrollbars --virtual-time-budget=10000 --force-device-scale-factor=1.25 \
  --window-size=1000,1300 --screenshot=docs/images/explorer.png "file://$run/run/explorer.html"
rm -r "$run"
