for (const button of document.querySelectorAll(".command button")) {
  const command = button.previousElementSibling;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = {{ _("Copied")|tojson }};
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = document.execCommand("copy") ? {{ _("Copied")|tojson }} : {{ _("Selected")|tojson }};
    }
    setTimeout(() => { button.textContent = {{ _("Copy")|tojson }}; }, 2000);
  });
}
