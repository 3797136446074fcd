// Files that are dropped anywhere on the page, or chosen.

import { find } from "./dom.js";

// `onFiles(files)` is told of them.
export function takeFiles(form, onFiles) {
  const input = find("input[type=file]", form);
  input.multiple = true;
  input.required = false;
  const take = (list) => {
    const files = [...list];
    if (files.length) onFiles(files);
  };
  const takeChosen = () => {
    take(input.files);
    input.value = ""; // the same file again is news
  };
  input.addEventListener("change", takeChosen);
  takeChosen(); // chosen before the scripts had come
  form.addEventListener("submit", (event) => event.preventDefault());
  const over = (event, is) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    form.classList.toggle("over", is);
  };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => over(event, event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    over(event, false);
    take(event.dataTransfer?.files ?? []);
  });
}
