/* Everything begins here. */

for (const figure of document.querySelectorAll("figure.plot")) startPlot(figure);
for (const figure of document.querySelectorAll("figure.matrix")) startMatrix(figure);
for (const dialog of document.querySelectorAll("dialog")) startGallery(dialog);
followGround();
