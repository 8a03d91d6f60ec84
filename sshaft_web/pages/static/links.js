// Opens links of the output: http and https only, after the person has seen the address, and without an opener.

import { WebLinksAddon } from "./vendor/addon-web-links.mjs";
import { ask } from "./dialogs.js";

const LONGEST = 2000;

/** Handles the links that a program writes with OSC 8. Their text may differ from their address. */
export const linkHandler = { activate: (_event, address) => open(address), allowNonHttpProtocols: false };

export function bindLinks(terminal) {
  terminal.loadAddon(new WebLinksAddon((_event, address) => open(address)));
}

function open(address) {
  const url = URL.parse?.(address) ?? parsed(address);
  if (!url || !["http:", "https:"].includes(url.protocol) || url.href.length > LONGEST) return;
  ask({
    title: `Open ${url.host}?`,
    sentence: "A program in the terminal wrote this address. Open it only if you trust it.",
    detail: url.href,
    action: "Open in a new tab",
    href: url.href,
  });
}

function parsed(address) {
  try {
    return new URL(address);
  } catch {
    return null;
  }
}
