/* The gallery: an image large, beside its original. */

function startGallery(dialog) {
  for (const button of document.querySelectorAll(".shot")) {
    button.addEventListener("click", () => {
      fillDialog(dialog, button);
      dialog.showModal();
    });
  }
}

function fillDialog(dialog, button) {
  const [original, inverted] = dialog.querySelectorAll("img");
  const place = button.closest("td").cellIndex;
  const first = button.closest("table").rows[0].cells[place].querySelector("img");
  const image = button.querySelector("img");
  original.src = first.src;
  original.alt = first.alt;
  inverted.src = image.src;
  inverted.alt = image.alt;
  inverted.closest("div").hidden = image === first;
  dialog.querySelector("h3").textContent = image.alt;
  const { caption, classes } = button.dataset;
  const residual = image === first ? caption : `Residual ${caption || "not known"}; 0 is a perfect inversion.`;
  dialog.querySelector(".closer-residual").textContent = residual;
  dialog.querySelector(".closer-classes").textContent = classes;
}
