// Asks the person a question in a dialog. Foreign text is only ever set as text.

/**
 * Shows the question, and resolves to true if the person agrees.
 *
 * `detail` is foreign text, shown as it is. `href` makes the button a link that opens in a new tab.
 */
export async function ask({ title, sentence, action, detail, href }) {
  const dialog = made({ title, sentence, detail });
  const button = dialog.querySelector("[value=yes]");
  const link = dialog.querySelector("a");
  button.textContent = link.textContent = action;
  button.hidden = Boolean(href);
  link.hidden = !href;
  if (href) {
    link.href = href;
    link.addEventListener("click", () => dialog.close("yes"));
  }
  return (await answer(dialog)) === "yes";
}

/** Shows a text field, and resolves to its text if the person agrees, else to an empty text. */
export async function askForText({ title, sentence, action, text = "" }) {
  const dialog = made({ title, sentence });
  const field = dialog.querySelector("textarea");
  const button = dialog.querySelector("[value=yes]");
  field.hidden = false;
  field.setAttribute("aria-label", title);
  field.value = text;
  field.readOnly = Boolean(text);
  button.textContent = action;
  return (await answer(dialog, field)) === "yes" ? field.value : "";
}

function made({ title, sentence, detail }) {
  const dialog = document.getElementById("question").content.firstElementChild.cloneNode(true);
  const heading = dialog.querySelector("h2");
  const shown = dialog.querySelector("pre");
  heading.textContent = title;
  heading.id = `question-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  dialog.setAttribute("aria-labelledby", heading.id);
  dialog.querySelector(".lead").textContent = sentence;
  shown.hidden = !detail;
  shown.textContent = detail ?? "";
  shown.setAttribute("aria-label", title);
  return dialog;
}

function answer(dialog, focused) {
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  (focused ?? dialog.querySelector("[value=no]")).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus();
      resolve(dialog.returnValue);
    });
  });
}
