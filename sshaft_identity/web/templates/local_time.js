// Without scripts the page shows UTC. The title keeps the exact time of the audit log.
for (const each of document.querySelectorAll("time")) {
  each.title = each.textContent;
  each.textContent = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"}).format(new Date(each.dateTime));
}
