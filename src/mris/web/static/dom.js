// Building and finding elements. Text goes in as text, never as HTML: names in files and databases are anybody's.

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

// An element with properties (`className`, `textContent`, ...), attributes in `attributes`, and children or texts.
export function make(tag, { attributes = {}, dataset = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// The same for SVG, whose elements know attributes only.
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const fill = (element, ...children) => element.replaceChildren(...children.filter((child) => child !== null));

// Show an element, or hide it.
export const show = (element, shown = true) => {
  element.hidden = !shown;
};
