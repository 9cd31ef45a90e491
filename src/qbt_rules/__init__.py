"""The controller: rules that react to what qBittorrent does."""
