# Sourced by scripts/qgis_process and scripts/qgis: a QGIS profile in the checkout that knows this plugin and nothing else.
checkout=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
profile="${CROPMAP_PROFILE:-$checkout/.profile}"
export QGIS_PLUGINPATH="$profile/plugins" QGIS_CUSTOM_CONFIG_PATH="$profile"
export CROPMAP_PYTHON="${CROPMAP_PYTHON-$checkout/.venv/bin/python}"
if [ "$(readlink "$profile/enabled")" != "$checkout" ]; then
  mkdir -p "$profile/plugins"
  ln -sfn "$checkout" "$profile/plugins/cropmap"
  QT_QPA_PLATFORM=offscreen qgis_process plugins enable cropmap >/dev/null
  ln -sfn "$checkout" "$profile/enabled" # remembers for which checkout
fi
