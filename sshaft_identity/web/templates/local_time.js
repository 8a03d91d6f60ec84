// Without scripts the page shows UTC. The title keeps the exact time of the audit log.
// Of the page's language, the browser may want the form of a country, such as en-GB.
const lang = document.documentElement.lang;
const wanted = navigator.languages.find((each) => each.split("-")[0] === lang) ?? lang;
const inWords = new Intl.DateTimeFormat(wanted, {dateStyle: "medium", timeStyle: "short"});
for (const each of document.querySelectorAll("time")) {
  each.title = each.textContent;
  each.textContent = inWords.format(new Date(each.dateTime));
}
