// Sets the theme before the page is drawn. It is no module, because a module would run too late.
try {
  const { theme } = JSON.parse(localStorage.getItem("sshaft-web-settings") ?? "{}");
  if (["light", "dark", "contrast"].includes(theme)) document.documentElement.dataset.theme = theme;
} catch { /* the storage is closed or holds something else: the colours of the computer stay */ }
