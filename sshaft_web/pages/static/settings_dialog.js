// Shows the settings in a dialog. Each change counts at once.

import { change, settings } from "./settings.js";

export function bindSettings() {
  const dialog = document.getElementById("settings");
  document.getElementById("settings-open").addEventListener("click", () => {
    for (const field of fields(dialog)) {
      if (field.type === "checkbox") field.checked = settings[field.name];
      else field.value = settings[field.name];
    }
    dialog.showModal();
  });
  dialog.addEventListener("change", ({ target }) => change(target.name, valueOf(target)));
}

function fields(dialog) {
  return dialog.querySelectorAll("[name]");
}

function valueOf(field) {
  if (field.type === "checkbox") return field.checked;
  return field.type === "number" ? field.valueAsNumber : field.value;
}
