// The colours of the terminal. Those of the page are in page.css.

import { settings } from "./settings.js";

const LIGHT = {
  background: "#fffefc", foreground: "#1f2328", cursor: "#2c57b3", cursorAccent: "#fffefc",
  selectionBackground: "#c9d8f8", selectionInactiveBackground: "#a9c1f5",
  black: "#1f2328", red: "#a03a2d", green: "#1a6b44", yellow: "#7d5700", blue: "#2c57b3", magenta: "#8a3a96",
  cyan: "#126a77", white: "#59606a", brightBlack: "#59606a", brightRed: "#b3261e", brightGreen: "#15703a",
  brightYellow: "#8a5a00", brightBlue: "#1f5fd0", brightMagenta: "#9a2fae", brightCyan: "#0b6f80", brightWhite: "#1f2328",
};
const DARK = {
  background: "#14161b", foreground: "#e9e7e2", cursor: "#93b4ff", cursorAccent: "#14161b",
  selectionBackground: "#33466f", selectionInactiveBackground: "#41598d",
  black: "#31353d", red: "#f2a094", green: "#74cda0", yellow: "#e5c27a", blue: "#93b4ff", magenta: "#d8a6e6",
  cyan: "#7fcfdc", white: "#d6d3cc", brightBlack: "#8d939d", brightRed: "#ffb8ad", brightGreen: "#98e2bb",
  brightYellow: "#f4d898", brightBlue: "#b5ccff", brightMagenta: "#e7c2f1", brightCyan: "#a6e3ec", brightWhite: "#ffffff",
};
const CONTRAST = {
  background: "#000000", foreground: "#ffffff", cursor: "#ffff00", cursorAccent: "#000000",
  selectionBackground: "#ffff00", selectionForeground: "#000000", selectionInactiveBackground: "#808000",
  black: "#000000", red: "#ff9a9a", green: "#7dff9b", yellow: "#ffff66", blue: "#9cc2ff", magenta: "#ffa6ff",
  cyan: "#7ffbff", white: "#ffffff", brightBlack: "#c0c0c0", brightRed: "#ffb8b8", brightGreen: "#a8ffbd",
  brightYellow: "#ffff99", brightBlue: "#bcd6ff", brightMagenta: "#ffc4ff", brightCyan: "#b0fdff", brightWhite: "#ffffff",
};
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Returns the theme of xterm, and the contrast below which xterm changes a colour. */
export function terminalColours() {
  const name = settings.theme === "system" ? (dark.matches ? "dark" : "light") : settings.theme;
  const theme = { light: LIGHT, dark: DARK, contrast: CONTRAST }[name];
  return { theme, minimumContrastRatio: name === "contrast" ? 7 : 4.5 };
}

export function onSystemTheme(listener, signal) {
  dark.addEventListener("change", listener, { signal });
}

export function showTheme() {
  const { dataset } = document.documentElement;
  if (settings.theme === "system") delete dataset.theme;
  else dataset.theme = settings.theme;
}
